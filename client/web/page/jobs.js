// The list of videos: each job with its state, live progress, result and actions.

import { call, post, remove } from "./api.js";
import { connect } from "./follow.js";
import { ago, announce, clock, duration, element, hours, showProblem } from "./format.js";
import { reuse } from "./form.js";
import { openPlayer } from "./player.js";

const list = document.getElementById("jobs");
const older = document.getElementById("older");
const empty = document.getElementById("empty");
const PAGE_SIZE = 20;
const MAX_PAGE_SIZE = 200;
const RECONNECT_MS = 3000;
const CHIPS = {
  queued: "Waiting",
  running: "Working",
  cancelling: "Stopping",
  finished: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};
const STAGES = {
  starting: "Starting",
  "reading the inputs": "Reading the files",
  "scanning the clip": "Scanning the video",
  "lip-syncing": "Lip-syncing",
};
const cards = new Map(); // id -> Card

class Card {
  constructor(job) {
    this.title = element("h3");
    this.facts = element("p");
    this.chip = element("span", { className: "chip" });
    this.label = element("label", { for: `progress-${job.id}` });
    this.bar = element("progress", { id: `progress-${job.id}`, max: 100 });
    this.progress = element("div", { className: "job-progress" }, this.label, this.bar);
    this.problem = element("div", { className: "problem" });
    this.warnings = element("div");
    this.player = element("div");
    this.actions = element("div", { className: "job-actions" });
    this.details = element("details", { className: "job-details" });
    const head = element("div", { className: "job-head" }, element("div", { className: "job-name" }, this.title, this.facts), this.chip);
    this.root = element("li", { className: "job", "data-id": job.id, tabindex: "-1" }, head, this.progress, this.problem, this.warnings, this.player, this.details, this.actions);
    this.state = null;
    this.update(job);
  }

  update(job) {
    const before = this.state;
    this.job = job;
    this.state = job.state;
    this.title.textContent = job.video_name;
    this.facts.textContent = `with ${job.audio_name} · ${ago(job.created_at)}`;
    this.chip.textContent = CHIPS[job.state];
    this.chip.className = `chip ${job.state}`;
    this.root.dataset.state = job.state;
    this.showProgress(job);
    if (before === job.state) return;
    this.showEnd(job);
    this.showActions(job);
    if (before) this.tell(job);
  }

  showProgress(job) {
    this.progress.hidden = !["queued", "running", "cancelling"].includes(job.state);
    this.label.textContent = progressText(job);
    if (job.state === "running" && job.total_frames) this.bar.value = job.percent;
    else if (job.state === "queued") this.bar.value = 0;
    else this.bar.removeAttribute("value");
  }

  showEnd(job) {
    this.problem.hidden = !job.error;
    if (job.error) showProblem(this.problem, { title: job.error.title, text: job.error.user_message });
    const lines = [...unchanged(job), ...job.warnings];
    this.warnings.hidden = lines.length === 0;
    this.warnings.replaceChildren(...lines.map((line) => element("p", { className: "warning" }, line)));
    this.details.hidden = !job.report;
    if (job.report) this.details.replaceChildren(element("summary", {}, "Details"), factsOf(job));
  }

  showActions(job) {
    const actions = [];
    if (job.state === "finished") {
      this.watch = element("button", { type: "button", className: "quiet", "aria-expanded": "false", onclick: () => this.toggle() }, "Watch");
      actions.push(this.watch, element("a", { className: "button primary", href: `${job.links.result}?download=true`, download: "" }, "Download"));
    }
    if (job.state === "queued" || job.state === "running") {
      actions.push(this.action("Cancel", () => post(`${job.links.self}/cancel`).then((now) => this.update(now))));
    }
    if (["failed", "cancelled"].includes(job.state)) {
      actions.push(this.action("Try again", () => post(`${job.links.self}/retry`).then((now) => this.update(now))));
      actions.push(this.action("Replace the video", () => reuse(job, { replaceVideo: true }), true));
    }
    if (["finished", "failed", "cancelled"].includes(job.state)) {
      actions.push(this.action("Use these settings again", () => reuse(job), true));
      actions.push(this.action("Remove", () => remove(job.links.self).then(() => drop(job.id))));
    }
    const hadFocus = this.actions.contains(document.activeElement);
    this.actions.replaceChildren(...actions);
    if (hadFocus) this.root.focus();
  }

  action(text, act, isRepeatable = false) {
    const button = element("button", { type: "button", className: "quiet", "aria-label": `${text}: ${this.job.video_name}` }, text);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        await act();
        if (isRepeatable) button.disabled = false;
      } catch (problem) {
        showProblem(this.problem, problem);
        button.disabled = false;
      }
    });
    return button;
  }

  toggle() {
    const isOpen = this.watch.getAttribute("aria-expanded") === "true";
    this.watch.setAttribute("aria-expanded", String(!isOpen));
    this.watch.textContent = isOpen ? "Watch" : "Close";
    if (isOpen) {
      this.close();
      this.player.replaceChildren();
    } else {
      this.close = openPlayer(this.player, this.job);
    }
  }

  tell(job) {
    if (job.state === "finished") {
      announce(`${job.video_name} is done`);
      if (this.isNew && !this.player.firstChild) this.toggle();
    }
    if (job.state === "failed") announce(`${job.video_name} failed: ${job.error.title}. ${job.error.user_message}`);
    if (job.state === "cancelled") announce(`${job.video_name} was cancelled`);
  }
}

function progressText(job) {
  if (job.state === "queued") {
    if (job.attempts) return "Interrupted; it continues in a moment";
    const place = job.queue_position > 1 ? `Number ${job.queue_position} in the queue` : "Next in the queue";
    return job.estimate_s ? `${place} · takes about ${duration(job.estimate_s)}` : place;
  }
  if (job.state === "cancelling") return "Stopping";
  const parts = [STAGES[job.stage] ?? job.stage.charAt(0).toUpperCase() + job.stage.slice(1)];
  if (job.total_frames) parts.push(`${Math.round(job.percent)} %`);
  const speed = job.frames_per_second;
  if (speed) parts.push(`${speed < 10 ? speed : Math.round(speed)} frames per second`);
  if (job.eta_s) parts.push(`about ${duration(job.eta_s)} left`);
  return parts.join(" · ");
}

function unchanged(job) {
  return Object.values(job.report?.unchanged ?? {}).map(({ reason, frames, spans }) => {
    const shown = spans.slice(0, 3).map(([start, end]) => `${clock(start)} to ${clock(end)}`);
    const more = spans.length > 3 ? " and more" : "";
    return `${frames} of ${job.report.frames} frames are unchanged, ${reason} (${shown.join(", ")}${more}).`;
  });
}

function factsOf(job) {
  const report = job.report;
  const facts = {
    Model: job.settings.model,
    Length: `${report.duration_s.toFixed(1)} s`,
    Picture: `${report.width} × ${report.height}`,
    "Frame rate": `${report.video_fps} per second`,
    "Frames lip-synced": `${report.frames_synced} of ${report.frames}`,
    "Processing time": duration(report.seconds),
  };
  return element("dl", {}, ...Object.entries(facts).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, String(value)))));
}

function drop(id) {
  cards.get(id)?.close?.();
  cards.get(id)?.root.remove();
  cards.delete(id);
  empty.hidden = cards.size > 0;
}

function show(job, isNew = false) {
  const known = cards.get(job.id);
  if (known) {
    known.update(job);
  } else {
    const card = new Card(job);
    cards.set(job.id, card);
    const next = [...list.children].find((other) => cards.get(other.dataset.id).job.created_at < job.created_at);
    list.insertBefore(card.root, next ?? null);
  }
  empty.hidden = true;
  if (isNew) {
    const card = cards.get(job.id);
    card.isNew = true;
    card.root.focus({ preventScroll: true });
    card.root.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  }
}

async function load(offset, limit = PAGE_SIZE) {
  const page = await call(`/jobs?limit=${limit}&offset=${offset}`);
  for (const job of page.jobs) show(job);
  older.hidden = cards.size >= page.total;
  empty.hidden = cards.size > 0;
  return page;
}

// Shows the newest jobs, as many as are shown already, and drops those of them that have gone meanwhile.
async function reload() {
  const page = await load(0, Math.min(MAX_PAGE_SIZE, Math.max(PAGE_SIZE, cards.size)));
  const listed = new Set(page.jobs.map((job) => job.id));
  const oldest = page.jobs.length < page.total ? page.jobs.at(-1).created_at : "";
  for (const [id, card] of cards) if (!listed.has(id) && card.job.created_at > oldest) drop(id);
  return page.revision;
}

let known = Infinity; // last revision that was heard of
let turn = 0; // of joining: only the newest goes on
const stream = connect((message) => {
  if (message.kind === "lost") return setTimeout(begin, RECONNECT_MS);
  known = message.revision;
  return message.kind === "job" ? show(message.data) : drop(message.data.id);
});

// Shows the newest jobs, then follows all changes since a revision that is known from before.
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

export function startJobs(limits) {
  document.getElementById("keep-note").textContent = `Kept for ${hours(limits.keep_hours)}, then removed.`;
  older.addEventListener("click", () => load(cards.size));
  document.addEventListener("visibilitychange", () => (document.hidden ? stream.leave() : begin()));
  addEventListener("pagehide", stream.leave);
  addEventListener("pageshow", (event) => event.persisted && begin());
  begin();
  return { show };
}
