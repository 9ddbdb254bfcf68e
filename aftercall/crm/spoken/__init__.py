"""What people say on the telephone, read: amounts, days and times, in English and Hindi. Pure."""
