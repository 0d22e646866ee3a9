// Removes jobs a moment later than asked, so that it can be undone.

import { remove } from "./api.js";
import { dropJob } from "./jobs.js";

const UNDO_MS = 10000;
const pending = new Map(); // id -> { job, timer }
const listeners = new Set(); // called with the id of a job that is to go, or no longer

export const isGoing = (id) => pending.has(id);
export const onRemoval = (listener) => listeners.add(listener);

export function removeJob(job) {
  pending.set(job.id, { job, timer: setTimeout(() => finish(job.id), UNDO_MS) });
  tell(job.id);
}

export function undo(id) {
  clearTimeout(pending.get(id)?.timer);
  pending.delete(id);
  tell(id);
}

async function finish(id) {
  const { job } = pending.get(id);
  try {
    await remove(job.links.self);
    dropJob(id);
  } catch (problem) {
    if (problem.status === 404) dropJob(id);
  }
  pending.delete(id);
  tell(id);
}

function tell(id) {
  for (const listener of listeners) listener(id);
}

// A page that is left removes what was to be removed.
addEventListener("pagehide", () => {
  for (const { job } of pending.values()) fetch(job.links.self, { method: "DELETE", keepalive: true, credentials: "same-origin" });
});
