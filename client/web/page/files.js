// The two files of a new video: chosen, dropped, or given by other parts of the page.

const TYPES = ["video", "audio"];
const files = { video: null, audio: null };
const listeners = new Set(); // called with a name and a file

export const fileOf = (name) => files[name];
export const labelOf = (name) => (name === "video" ? "video" : "speech");
export const onChosen = (listener) => listeners.add(listener);

export function choose(name, file) {
  files[name] = file;
  document.getElementById(`${name}-drop`).hidden = true;
  for (const listener of listeners) listener(name, file);
}

export function askForFile(name) {
  document.getElementById(name).click();
}

export function startFiles() {
  for (const name of TYPES) startDrop(name);
  startDropAnywhere();
}

function startDrop(name) {
  const drop = document.getElementById(`${name}-drop`);
  const input = document.getElementById(name);
  const take = () => {
    if (input.files[0]) choose(name, input.files[0]);
    input.value = ""; // so that the same file can be chosen again
  };
  input.addEventListener("change", take);
  take(); // what was chosen before this script ran
  drop.addEventListener("dragenter", () => drop.classList.add("over"));
  drop.addEventListener("dragleave", (event) => drop.contains(event.relatedTarget) || drop.classList.remove("over"));
  drop.addEventListener("drop", () => drop.classList.remove("over"));
}

function startDropAnywhere() {
  const veil = document.getElementById("drop-anywhere");
  let inside = 0;
  const isFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => { if (isFiles(event)) veil.hidden = ++inside === 0; });
  addEventListener("dragleave", (event) => { if (isFiles(event)) veil.hidden = --inside <= 0; });
  addEventListener("dragover", (event) => isFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    inside = 0;
    veil.hidden = true;
    const section = event.target.closest?.(".file");
    for (const file of event.dataTransfer.files) choose(placeFor(file, section), file);
  });
}

function placeFor(file, section) {
  if (section) return section.contains(document.getElementById("video")) ? "video" : "audio";
  return file.type.startsWith("audio/") ? "audio" : "video";
}
