"""The fake CRMs as the laws see them, one a vendor."""

from tests.crm_sync.vendors.freshsales import Freshsales
from tests.crm_sync.vendors.hubspot import HubSpot
from tests.crm_sync.vendors.leadsquared import LeadSquared
from tests.crm_sync.vendors.pipedrive import Pipedrive
from tests.crm_sync.vendors.salesforce import Salesforce
from tests.crm_sync.vendors.vendor import Vendor
from tests.crm_sync.vendors.zoho import Zoho

VENDORS: dict[str, type[Vendor]] = {
    "freshsales": Freshsales,
    "hubspot": HubSpot,
    "leadsquared": LeadSquared,
    "pipedrive": Pipedrive,
    "salesforce": Salesforce,
    "zoho": Zoho,
}
