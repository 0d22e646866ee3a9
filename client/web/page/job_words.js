// What the page says of a job: its state, progress, and what was left as it was.

import { clock, duration, short } from "./format.js";
import { titleOf } from "./models.js";

export const STATES = {
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
  "scanning the clip": "Finding faces",
  "lip-syncing": "Lip-syncing",
};
export const STEPS = ["Upload", "Wait", "Read the files", "Find faces", "Lip-sync"];
const STEP_OF_STAGE = { starting: 2, "reading the inputs": 2, "scanning the clip": 3, "lip-syncing": 4 };
const LAST = "lip-syncing";

// The step that a job is at; unknown stages belong to the step of reading.
export const stepOf = (job) => (job.state === "queued" ? 1 : (STEP_OF_STAGE[job.stage] ?? 2));

// The percentage of the whole job, for which the last stage counts alone: the others are short.
export const percentOf = (job) => (job.state === "running" && job.stage === LAST && job.total_frames ? Math.round(job.percent) : null);

export function progressText(job) {
  if (job.state === "queued") return queueText(job);
  if (job.state === "cancelling") return "Stopping";
  const parts = [STAGES[job.stage] ?? job.stage.charAt(0).toUpperCase() + job.stage.slice(1)];
  if (job.total_frames) parts.push(`${Math.round(job.percent)} %`);
  const speed = job.frames_per_second;
  if (speed) parts.push(`${speed < 10 ? speed : Math.round(speed)} frames per second`);
  if (job.eta_s) parts.push(`about ${duration(job.eta_s)} left`);
  return parts.join(" · ");
}

function queueText(job) {
  if (job.attempts) return "Interrupted; it continues in a moment";
  const place = job.queue_position > 1 ? `Number ${job.queue_position} in the queue` : "Next in the queue";
  return job.estimate_s ? `${place} · takes about ${duration(job.estimate_s)}` : place;
}

export function unchanged(job) {
  return Object.values(job.report?.unchanged ?? {}).map(({ reason, frames, spans }) => {
    const shown = spans.slice(0, 3).map(([start, end]) => `${clock(start)} to ${clock(end)}`);
    const more = spans.length > 3 ? " and more" : "";
    return `${frames} of ${job.report.frames} frames are unchanged, ${reason} (${shown.join(", ")}${more}).`;
  });
}

const speakersOf = ({ speakers, frames }) =>
  speakers.length < 2 ? [] : speakers.map(({ name, frames_synced }) => [`${short(name)}, lip-synced`, `${frames_synced} of ${frames} frames`]);

export function factsOf(job) {
  const report = job.report;
  return {
    Model: titleOf(job.settings.model),
    Length: `${report.duration_s.toFixed(1)} s`,
    Picture: `${report.width} × ${report.height}`,
    "Frame rate": `${report.video_fps} per second`,
    "Frames lip-synced": `${report.frames_synced} of ${report.frames}`,
    "Processing time": duration(report.seconds),
    ...Object.fromEntries(speakersOf(report)),
  };
}
