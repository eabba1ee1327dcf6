"""Acknowledgements: which emails wait for one, and the templates that they are made of.

answer_lanes     which emails wait for an acknowledgement, and which is begun next
answers          acknowledgements as they are written: the answer as an ordinary email
template_proofs  whether something was made of a template, as its texts are
templates        templates of answers, as a person looks at them
template_values  what a template is given of an email
"""
