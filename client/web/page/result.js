// The place of the result: how far the chosen job is, its result beside the original, or why there is none.

import { actionButton, actionsOf } from "./actions.js";
import { announce, element, short, showProblem } from "./format.js";
import { STATES, factsOf, unchanged } from "./job_words.js";
import { allJobs, jobOf, onJob } from "./jobs.js";
import { offerNotice } from "./notice.js";
import { openPlayer } from "./player.js";
import { credentialsOf } from "./quality.js";
import { isGoing, onRemoval, removeJob } from "./removal.js";
import { makeSteps } from "./steps.js";
import { Watch } from "./watch.js";

const KEY = "lipsync-shown";
const place = document.getElementById("result");
const listeners = new Set(); // called with the id of the job that is shown
let shown = null; // id of the job
let state = ""; // of the job as it is shown
let steps = null;
let watch = null; // of a running job
let close = () => {};
let isFresh = true; // nothing was shown yet
const own = new Set(); // ids of jobs that were sent from this page

const isActive = (job) => ["queued", "running", "cancelling"].includes(job.state);
export const onShown = (listener) => listeners.add(listener);

export function startResult() {
  showNothing();
  onJob((job, before) => {
    if (job && job.id === shown) update(job);
    if (!job && before?.id === shown) showNothing();
    if (job && before && own.has(job.id) && job.state !== before.state) tell(job);
    if (job && isFresh && (job.id === sessionStorage.getItem(KEY) || isActive(job))) showJob(job.id);
  });
  onRemoval((id) => id === shown && isGoing(id) && showNothing());
}

export function showNothing() {
  change(null, "");
  replace("Result", element("p", { className: "nothing" }, "The result appears here, beside the original."));
}

// Shows a job; `isNew`: it was just sent, `isAsked`: someone chose it in the list.
export function showJob(id, { isNew = false, isAsked = false } = {}) {
  const job = jobOf(id);
  if (!job) return;
  if (isNew) own.add(id);
  change(id, "");
  update(job);
  if (isAsked || isNew) {
    place.focus({ preventScroll: true });
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    place.scrollIntoView({ block: "nearest", behavior: isStill ? "auto" : "smooth" });
  }
}

// Shows how far an upload is; null shows what was shown before.
export function showUpload(sending, cancel) {
  if (!sending) return showNothing();
  if (state !== "uploading") {
    change(null, "uploading");
    steps = makeSteps();
    const button = element("button", { type: "button", className: "quiet", onclick: cancel }, "Cancel upload");
    replace(sending.video.name, steps.root, element("div", { className: "job-actions" }, button));
    place.scrollIntoView({ block: "nearest" });
  }
  return steps.showUpload(sending);
}

function change(id, now) {
  if (now || id) isFresh = false;
  close();
  close = () => {};
  watch?.close();
  watch = null;
  steps = null;
  shown = id;
  state = now;
  if (id) sessionStorage.setItem(KEY, id);
  for (const listener of listeners) listener(id);
}

function update(job) {
  const kind = isActive(job) ? "active" : job.state;
  if (state !== kind) {
    const hadFocus = place.contains(document.activeElement);
    const seen = watch?.close();
    close();
    close = () => {};
    state = kind;
    replace(job.video_name, ...(kind === "active" ? active() : ended(job, seen)));
    if (hadFocus) place.focus({ preventScroll: true });
  }
  steps?.show(job);
  watch?.show(job);
  place.dataset.state = job.state;
  showActions(job);
}

function replace(title, ...children) {
  const problem = element("div", { className: "problem", role: "alert", hidden: true });
  const actions = element("div", { className: "job-actions", id: "result-actions" });
  place.dataset.state = state;
  place.setAttribute("aria-labelledby", "result-title");
  place.replaceChildren(element("h2", { id: "result-title", title }, short(title)), ...children, problem, actions);
}

function active() {
  steps = makeSteps();
  watch = new Watch();
  return [steps.root, watch.root, offerNotice()];
}

// Shows an ended job; `seen`: where it was watched before its end.
function ended(job, seen) {
  steps = null;
  watch = null;
  const made = [];
  if (job.state === "finished") {
    const player = element("div");
    close = openPlayer(player, job, seen);
    const credentials = credentialsOf(job);
    made.push(player, ...(credentials ? [credentials] : []));
  }
  if (job.state === "cancelled") made.push(element("p", { className: "muted" }, "This video was cancelled."));
  if (job.error) {
    const problem = element("div", { className: "problem" });
    showProblem(problem, { title: job.error.title, text: job.error.user_message });
    made.push(problem);
  }
  made.push(...[...unchanged(job), ...job.warnings].map((line) => element("p", { className: "warning" }, line)));
  if (job.report) made.push(details(job));
  return made;
}

function details(job) {
  const lines = Object.entries(factsOf(job)).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value))));
  return element("details", { className: "job-details" }, element("summary", {}, "Details"), element("dl", {}, ...lines));
}

let drawn = ""; // the actions that are shown
function showActions(job) {
  const actions = document.getElementById("result-actions");
  const wanted = `${job.id} ${job.state}`;
  if (drawn === wanted && actions.firstChild) return;
  drawn = wanted;
  const hadFocus = actions.contains(document.activeElement);
  const fail = (problem) => showProblem(place.querySelector(":scope > .problem[role=alert]"), problem);
  actions.replaceChildren(...actionsOf(job, removeJob).map((action) => actionButton(job, action, fail)));
  if (hadFocus) place.focus({ preventScroll: true });
}

function tell(job) {
  if (job.state === "finished") announce(`${job.video_name} is done`);
  if (job.state === "failed") announce(`${job.video_name} failed: ${job.error.title}. ${job.error.user_message}`);
  if (job.state === "cancelled") announce(`${job.video_name}: ${STATES.cancelled}`);
}

// The newest job that goes on, for the title of the tab.
export const activeJob = () => allJobs().find(isActive) ?? null;
export const isOwn = (id) => own.has(id);
