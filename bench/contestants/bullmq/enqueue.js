// Queues the calls of a file of ids, in bulk.
import { readFileSync } from 'node:fs';
import { Queue } from 'bullmq';
import { QUEUE, connection, jobFor } from './queue.js';

const ids = readFileSync(process.argv[2], 'utf8').split('\n').filter(Boolean);
const queue = new Queue(QUEUE, { connection });
for (let start = 0; start < ids.length; start += 1000) {
  await queue.addBulk(ids.slice(start, start + 1000).map(jobFor));
}
await queue.close();
