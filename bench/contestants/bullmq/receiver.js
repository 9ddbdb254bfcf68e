// Takes the webhook; answers 200 when Redis has the job.
import { Queue } from 'bullmq';
import Fastify from 'fastify';
import { QUEUE, connection, jobFor } from './queue.js';

const queue = new Queue(QUEUE, { connection });
const app = Fastify();

app.post('/webhook', async (request, reply) => {
  const callId = request.body?.call?.call_id ?? request.body?.call_id;
  if (!callId) return reply.code(422).send({ error: 'no call id' });
  const { name, data, opts } = jobFor(callId);
  await queue.add(name, data, opts);
  return { received: 1 };
});

await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) });

process.on('SIGTERM', async () => {
  await app.close();
  await queue.close();
  process.exit(0);
});
