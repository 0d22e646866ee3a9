// The jobs that the page knows, kept up to date by the stream of events; other parts of the page listen.

import { call } from "./api.js";
import { connect } from "./follow.js";
import { showReconnecting } from "./status.js";

const PAGE_SIZE = 20;
const MAX_PAGE_SIZE = 200;
const RECONNECT_MS = 3000;
const jobs = new Map(); // id -> job
const listeners = new Set(); // called with a job and what it was before; null for none
let total = 0;

export const jobOf = (id) => jobs.get(id) ?? null;
export const allJobs = () => [...jobs.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
export const isMore = () => jobs.size < total;
export const onJob = (listener) => listeners.add(listener);
export const ENDED = ["finished", "failed", "cancelled"];

// Takes in a job's new state.
export function addJob(job) {
  const before = jobs.get(job.id) ?? null;
  jobs.set(job.id, job);
  tell(job, before);
}

export function dropJob(id) {
  const before = jobs.get(id);
  if (!before) return;
  jobs.delete(id);
  total -= 1;
  tell(null, before);
}

function tell(job, before) {
  for (const listener of listeners) listener(job, before);
}

async function load(offset, limit = PAGE_SIZE) {
  const page = await call(`/jobs?limit=${limit}&offset=${offset}`);
  total = page.total;
  for (const job of page.jobs) addJob(job);
  if (page.jobs.length === 0) tell(null, null);
  return page;
}

export const loadOlder = () => load(jobs.size);

export async function loadAll() {
  while (isMore() && (await load(jobs.size, MAX_PAGE_SIZE)).jobs.length);
}

// Loads the newest jobs, as many as are known already, and drops those of them that have gone meanwhile.
async function reload() {
  const page = await load(0, Math.min(MAX_PAGE_SIZE, Math.max(PAGE_SIZE, jobs.size)));
  const listed = new Set(page.jobs.map((job) => job.id));
  const oldest = page.jobs.length < page.total ? page.jobs.at(-1).created_at : "";
  for (const [id, job] of jobs) if (!listed.has(id) && job.created_at > oldest) dropJob(id);
  return page.revision;
}

let known = Infinity; // last revision that was heard of
let turn = 0; // of joining: only the newest goes on
const stream = connect(hear);

function hear(message) {
  if (message.kind === "lost") setTimeout(begin, RECONNECT_MS);
  if (["lost", "interrupted", "open"].includes(message.kind)) return showReconnecting(message.kind !== "open");
  known = message.revision;
  return message.kind === "job" ? addJob(message.data) : dropJob(message.data.id);
}

// Loads the newest jobs, then follows all changes since a revision that is known from before.
async function begin() {
  const mine = ++turn;
  if (document.hidden) return;
  try {
    const now = await reload();
    if (mine === turn && !document.hidden) stream.join(Math.min(known, now));
  } catch (problem) {
    if (problem.status === 401) location.reload();
    else if (mine === turn) setTimeout(begin, RECONNECT_MS);
  }
}

export function startJobs() {
  document.addEventListener("visibilitychange", () => (document.hidden ? stream.leave() : begin()));
  addEventListener("pagehide", stream.leave);
  addEventListener("pageshow", (event) => event.persisted && begin());
  begin();
}
