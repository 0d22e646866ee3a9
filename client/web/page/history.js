// The list of videos: one row a job, with its picture, state and menu; newest first, to be searched.

import { actionButton, actionsOf } from "./actions.js";
import { ago, announce, clock, element, hours } from "./format.js";
import { STATES, percentOf, progressText } from "./job_words.js";
import { allJobs, isMore, loadAll, loadOlder, onJob } from "./jobs.js";
import { makeMenu } from "./menu.js";
import { titleOf } from "./models.js";
import { isGoing, onRemoval, removeJob, undo } from "./removal.js";
import { onShown, showJob } from "./result.js";

const list = document.getElementById("jobs");
const older = document.getElementById("older");
const empty = document.getElementById("empty");
const search = document.getElementById("search");
const rows = new Map(); // id -> Row

class Row {
  constructor(job) {
    this.id = job.id;
    this.title = element("button", { type: "button", className: "job-title", onclick: () => showJob(this.id, { isAsked: true }) });
    this.facts = element("p", { className: "job-facts" });
    this.chip = element("span", { className: "chip" });
    this.picture = element("img", { className: "thumb", alt: "", loading: "lazy", width: 72, height: 54 });
    this.picture.addEventListener("error", () => this.picture.classList.add("none"));
    this.menu = makeMenu();
    this.root = element("li", { className: "job", "data-id": job.id });
    this.update(job);
  }

  update(job) {
    const isNewState = this.job?.state !== job.state;
    this.job = job;
    this.root.dataset.state = job.state;
    if (isGoing(job.id)) return this.showUndo();
    this.title.textContent = job.video_name;
    this.title.title = job.video_name;
    this.facts.textContent = factsLine(job);
    const percent = percentOf(job);
    this.chip.textContent = percent === null ? STATES[job.state] : `${percent} %`;
    this.chip.className = `chip ${job.state}`;
    if (isNewState || !this.root.contains(this.title)) this.showWhole(job);
    return undefined;
  }

  showWhole(job) {
    if (!this.picture.src) this.picture.src = job.links.poster;
    const text = element("div", { className: "job-name" }, element("h3", {}, this.title), this.facts);
    this.menu.fill(job.video_name, actionsOf(job, removeJob).map((action) => actionButton(job, action, (problem) => announce(problem.text ?? problem.title), "menu-item")));
    this.root.replaceChildren(this.picture, text, this.chip, this.menu.root);
  }

  showUndo() {
    const button = element("button", { type: "button", className: "quiet", "aria-label": `Undo: keep ${this.job.video_name}` }, "Undo");
    button.addEventListener("click", () => undo(this.id));
    this.root.replaceChildren(element("p", { className: "job-gone" }, `${this.job.video_name} is removed.`), button);
    button.focus({ preventScroll: true });
    announce(`${this.job.video_name} is removed. Undo is possible for ten seconds.`);
  }
}

function factsLine(job) {
  const length = job.report?.duration_s;
  const state = ["queued", "running", "cancelling"].includes(job.state) ? [progressText(job)] : [];
  const parts = [...state, `with ${job.audio_name}`, length ? clock(length) : "", titleOf(job.settings.model), ago(job.created_at)];
  return parts.filter(Boolean).join(" · ");
}

function take(job, before) {
  if (job) {
    const row = rows.get(job.id);
    if (row) row.update(job);
    else add(job);
  } else if (before) {
    drop(before.id);
  }
  tellCounts();
}

function add(job) {
  const row = new Row(job);
  rows.set(job.id, row);
  const next = [...list.children].find((other) => rows.get(other.dataset.id).job.created_at < job.created_at);
  list.insertBefore(row.root, next ?? null);
  hideUnfound(row);
}

function drop(id) {
  const row = rows.get(id);
  const next = row?.root.contains(document.activeElement) ? (row.root.nextElementSibling ?? row.root.previousElementSibling) : null;
  row?.root.remove();
  rows.delete(id);
  next?.querySelector("button")?.focus({ preventScroll: true });
}

function tellCounts() {
  older.hidden = !isMore();
  const found = [...rows.values()].filter((row) => !row.root.hidden).length;
  empty.hidden = found > 0;
  empty.textContent = rows.size ? `No video of yours is called “${search.value}”.` : "No videos yet. Yours will appear here, with their progress.";
  search.hidden = rows.size < 2 && !search.value;
}

function hideUnfound(row) {
  const wanted = search.value.trim().toLowerCase();
  const { video_name: video, audio_name: audio, settings } = row.job;
  row.root.hidden = Boolean(wanted) && ![video, audio, titleOf(settings.model), STATES[row.job.state]].some((text) => text.toLowerCase().includes(wanted));
}

async function find() {
  for (const row of rows.values()) hideUnfound(row);
  tellCounts();
  if (search.value && isMore()) await loadAll().catch(() => {});
}

// Shows what has been learned since the rows were made: names of pipelines, and times that have passed.
export function refreshRows() {
  for (const row of rows.values()) row.update(row.job);
}

export function startHistory(limits) {
  document.getElementById("keep-note").textContent = `Kept for ${hours(limits.keep_hours)}, then removed.`;
  older.addEventListener("click", () => loadOlder().catch((problem) => announce(problem.text)));
  search.addEventListener("input", find);
  onJob(take);
  onRemoval((id) => { const job = rows.get(id)?.job; if (job) rows.get(id).update(job); });
  onShown((id) => { for (const row of rows.values()) row.root.toggleAttribute("data-shown", row.id === id); });
  for (const job of allJobs()) take(job, null);
}
