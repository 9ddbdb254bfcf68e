import { Worker } from 'bullmq';
import { close, handleCall } from './job.js';
import { QUEUE, connection } from './queue.js';

const concurrency = Number(process.env.CONCURRENCY);
const worker = new Worker(QUEUE, handleCall, { connection, concurrency });
worker.on('error', (error) => console.error(error));
worker.on('failed', (job, error) => console.error(job?.id, error.message));

process.on('SIGTERM', async () => {
  await worker.close();
  await close();
  process.exit(0);
});
