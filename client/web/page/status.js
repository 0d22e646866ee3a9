// Says in the header whether the service is ready, and above everything what keeps it from working.

import { call } from "./api.js";
import { showProblem } from "./format.js";

const status = document.getElementById("status");
const statusText = document.getElementById("status-text");
const trouble = document.getElementById("trouble");
const READY_EVERY_MS = 15000;
const TROUBLE_EVERY_MS = 4000;
let isReconnecting = false;
let last = ["", "Connecting…"];
let shownTrouble = "";

export function showStatus(kind, text) {
  last = [kind, text];
  draw();
}

// While the stream of events is interrupted, the header says so.
export function showReconnecting(isLost) {
  isReconnecting = isLost;
  draw();
}

function draw() {
  const [kind, text] = isReconnecting && last[0] !== "bad" ? ["wait", "Reconnecting…"] : last;
  status.className = `status ${kind}`;
  if (statusText.textContent !== text) statusText.textContent = text;
}

export async function watchReadiness() {
  let wait = READY_EVERY_MS;
  try {
    await call("/ready");
    showStatus("good", "Ready");
    tell(null);
  } catch (problem) {
    showStatus("bad", problem.status ? "Not ready" : "Offline");
    tell(problem);
    wait = TROUBLE_EVERY_MS;
  }
  setTimeout(watchReadiness, wait);
}

// A screen reader hears each trouble once.
function tell(problem) {
  const text = problem ? `${problem.title} ${problem.text}` : "";
  if (text === shownTrouble) return;
  shownTrouble = text;
  if (problem) showProblem(trouble, problem);
  trouble.hidden = !problem;
}
