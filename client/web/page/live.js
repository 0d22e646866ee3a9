// The card of live streams: a prepared clip says what is spoken into the microphone, or what a recording says.

import { call } from "./api.js";
import { clock, counted, element, showProblem } from "./format.js";
import { LiveStream } from "./live_stream.js";
import { openMicrophone, openRecording } from "./live_voice.js";
import { hasMediaSource } from "./media_source.js";

const ASK_AGAIN_MS = 30000;
const byId = (id) => document.getElementById(id);
const form = byId("live-form");
const clip = byId("live-clip");
const file = byId("live-file");
const video = byId("live-video");
const badge = byId("live-badge");
const problem = byId("live-problem");
const startButton = byId("live-start");
const interruptButton = byId("live-interrupt");
const stopButton = byId("live-stop");
let now = null; // { stream, voice } while a stream is open or opens

// Shows the card once the service has live streams and a clip for them.
export async function startLive() {
  if (!hasMediaSource || !window.AudioContext || !window.WebSocket) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!now) start();
  });
  for (const radio of form.elements["live-voice"]) radio.addEventListener("change", drawVoice);
  stopButton.addEventListener("click", () => close("Stopped."));
  interruptButton.addEventListener("click", interrupt);
  drawVoice();
  draw();
  while (!(await offer())) await new Promise((later) => setTimeout(later, ASK_AGAIN_MS));
}

async function offer() {
  let found;
  try {
    found = await call("/live/clips");
  } catch {
    return false;
  }
  if (!found.ready || !found.clips.some((one) => !one.obstacle)) return false;
  clip.replaceChildren(...found.clips.filter((one) => !one.obstacle).map(({ name, title }) => element("option", { value: name }, `${name} (${title})`)));
  const obstacles = found.clips.filter((one) => one.obstacle);
  byId("live-others").hidden = !obstacles.length;
  byId("live-others").replaceChildren(
    element("summary", {}, `${counted(obstacles.length, "clip")} cannot be shown live`),
    element("ul", {}, ...obstacles.map((one) => element("li", {}, element("b", {}, one.name), " ", one.obstacle))),
  );
  byId("live").hidden = false;
  return true;
}

const isRecording = () => form.elements["live-voice"].value === "recording";

function drawVoice() {
  byId("live-file-field").hidden = !isRecording();
}

function draw() {
  const isOpen = Boolean(now?.isOpen);
  startButton.disabled = Boolean(now);
  stopButton.disabled = !now;
  interruptButton.disabled = !isOpen;
  byId("live-choices").disabled = Boolean(now);
  badge.hidden = !isOpen;
}

function say(text) {
  byId("live-state").textContent = text;
}

async function start() {
  problem.hidden = true;
  if (isRecording() && !file.files.length) {
    showProblem(problem, { title: "Choose a recording", text: "A file with sound is needed, or the microphone." });
    file.focus();
    return;
  }
  const mine = (now = { isOpen: false });
  draw();
  stopButton.focus({ preventScroll: true });
  say("Opening the clip…");
  try {
    await run(mine);
    if (mine === now) close("Ended.");
  } catch (error) {
    if (mine !== now) return; // it was stopped
    close("");
    showProblem(problem, await reasonOf(error));
  }
}

// Runs a stream to its end.
async function run(mine) {
  const hear = (piece) => (piece ? mine.stream.sendVoice(piece) : mine.stream.end());
  mine.voice = isRecording() ? await openRecording(file.files[0], hear) : await openMicrophone(hear);
  if (mine !== now) return mine.voice.stop();
  video.muted = mine.voice.isEndless; // who speaks would hear it again, late
  mine.stream = new LiveStream(video, { clip: clip.value, rate: mine.voice.rate }, (message) => hearStream(mine, message));
  const { seconds, left_out: leftOut } = await mine.stream.over;
  await mine.stream.finish();
  mine.after = ` ${clock(seconds)} were shown${leftOut ? `, without ${counted(leftOut, "picture")} that came too slowly` : ""}.`;
}

function hearStream(mine, message) {
  if (mine !== now) return;
  if (message.kind === "opened") {
    mine.isOpen = true;
    video.hidden = false;
    byId("live-empty").hidden = true;
    mine.voice.start();
    video.parentElement.style.setProperty("--ratio", message.width / message.height);
    byId("live-note").textContent = `Live pictures are ${message.is_marked ? "marked as generated, and " : ""}not signed.`;
    say(mine.voice.isEndless ? "On air: speak." : "On air.");
    draw();
  }
  badge.textContent = message.speaks ? "Speaks" : "Idle";
}

function interrupt() {
  now.voice.drop();
  now.stream.interrupt();
  say(now.voice.isEndless ? "Interrupted. Go on when you like." : "Interrupted. The rest of the recording is dropped.");
}

function close(text) {
  const mine = now;
  const hadFocus = form.contains(document.activeElement) && document.activeElement.tagName === "BUTTON";
  mine.voice?.stop();
  if (!mine.after) mine.stream?.close();
  say(text + (mine.after ?? ""));
  now = null;
  draw();
  if (hadFocus) startButton.focus({ preventScroll: true });
}

// A connection that is refused tells a page nothing; the same question by HTTP says why.
async function reasonOf(error) {
  if (error.status) return error;
  try {
    await call("/live/clips");
    return error;
  } catch (reason) {
    return reason;
  }
}
