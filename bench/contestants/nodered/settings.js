// Node-RED's settings: no editor, flows from the file beside, one pool of connections for functions.
const { Pool } = require('pg');

module.exports = {
  uiPort: Number(process.env.PORT),
  uiHost: '127.0.0.1',
  httpAdminRoot: false,
  flowFile: 'flows.json',
  credentialSecret: false,
  diagnostics: { enabled: false },
  logging: { console: { level: 'warn', metrics: false, audit: false } },
  // PGHOST, PGUSER and PGDATABASE are in the environment.
  functionGlobalContext: { pool: new Pool({ max: 10 }) },
};
