-- From now on there is nothing else: reads all, and bars nobody.

ALTER TABLE crm.email VALIDATE CONSTRAINT email_fits;
ALTER TABLE crm.party VALIDATE CONSTRAINT party_address_length;
ALTER TABLE crm.delivery VALIDATE CONSTRAINT delivery_state_check;
