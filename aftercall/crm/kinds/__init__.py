"""One file a CRM, read by `aftercall.crm.description`."""
