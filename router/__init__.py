"""CRM email router."""
