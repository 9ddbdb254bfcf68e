// The job: fetch the call's detail, save it, tell the hook. Throwing means that BullMQ retries.
import postgres from 'postgres';
import { Agent, request } from 'undici';

const { UPSTREAM_URL, HOOK_URL, WORKSPACE_ID, CONCURRENCY } = process.env;
const { PGHOST, PGDATABASE, PGUSER } = process.env;

// One connection for each job at once: both directions are the same host here.
const http = new Agent({ connections: Number(CONCURRENCY), pipelining: 1 });
const sql = postgres({ host: PGHOST, database: PGDATABASE, user: PGUSER, max: 10 });
const authorization = `Basic ${Buffer.from('bench-key:bench-secret').toString('base64')}`;

async function fetchDetail(callId) {
  const answer = await request(`${UPSTREAM_URL}?call_id=${encodeURIComponent(callId)}`, {
    dispatcher: http,
    headers: { authorization, 'x-workspace-id': WORKSPACE_ID },
    headersTimeout: 20_000,
    bodyTimeout: 20_000,
  });
  if (answer.statusCode !== 200) {
    await answer.body.dump();
    throw new Error(`upstream answered ${answer.statusCode}`);
  }
  return answer.body.json();
}

async function save(detail) {
  const { call } = detail;
  const row = {
    call_id: call.call_id,
    status: call.status,
    direction: call.direction,
    callee_phone: call.callee_phone,
    duration_seconds: call.duration_seconds,
    started_at: call.started_at,
    ended_at: call.ended_at,
    detail: sql.json(detail),
  };
  const { call_id: _, ...changed } = row;
  await sql`
    INSERT INTO calls ${sql(row)}
    ON CONFLICT (call_id) DO UPDATE SET ${sql(changed)}, saved_at = now()
  `;
}

async function tellHook({ success: _, ...data }) {
  const { call_id, ended_at } = data.call;
  const body = {
    type: 'call.completed',
    timestamp: ended_at,
    data: { call_id, workspace_id: WORKSPACE_ID, ...data },
  };
  const answer = await request(HOOK_URL, {
    dispatcher: http,
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': call_id },
    body: JSON.stringify(body),
    headersTimeout: 15_000,
    bodyTimeout: 15_000,
  });
  await answer.body.dump();
  if (answer.statusCode >= 300) throw new Error(`hook answered ${answer.statusCode}`);
}

export async function handleCall(job) {
  const detail = await fetchDetail(job.data.callId);
  await save(detail);
  await tellHook(detail);
}

export const close = () => Promise.all([sql.end(), http.close()]);
