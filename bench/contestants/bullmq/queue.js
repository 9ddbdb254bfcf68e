// What the worker, the receiver and the filler share.
const { REDIS_PORT, REDIS_PASSWORD } = process.env;

export const QUEUE = 'calls';
export const connection = {
  host: '127.0.0.1',
  port: Number(REDIS_PORT),
  password: REDIS_PASSWORD,
  maxRetriesPerRequest: null,
};
export const jobOptions = {
  attempts: 10,
  backoff: { type: 'exponential', delay: 1000 },
  removeOnComplete: true,
  removeOnFail: false,
};
// The job's id is the call's: the same call twice is one job.
export const jobFor = (callId) => ({
  name: 'call',
  data: { callId },
  opts: { ...jobOptions, jobId: callId },
});
