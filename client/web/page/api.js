// Calls to the service. Every error becomes a Problem with a text for people.

export class Problem extends Error {
  constructor(title, text, status = 0, errors = []) {
    super(text || title);
    this.title = title;
    this.text = text;
    this.status = status;
    this.errors = errors;
  }
}

const OFFLINE = new Problem("The service cannot be reached", "Check your connection, then try again.");

async function send(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : OFFLINE;
  }
  if (!response.ok) throw await problemOf(response.status, await response.text());
  return response;
}

export async function call(path, options = {}) {
  const response = await send(path, options);
  return response.status === 204 ? null : response.json();
}

export const fetchBlob = async (path) => (await send(path, {})).blob();

export const contentType = async (path) => (await send(path, { method: "HEAD" })).headers.get("Content-Type");

// Opens an answer to be read while it comes in.
export const open = (path, signal) => send(path, { signal });

export const post = (path, body) =>
  call(path, body === undefined
    ? { method: "POST" }
    : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

export const remove = (path) => call(path, { method: "DELETE" });

// Sends a form and reports progress, which fetch does not. `signal` cancels it.
export function upload(path, form, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = async () => {
      if (request.status >= 200 && request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(await problemOf(request.status, request.responseText));
    };
    request.onerror = () =>
      reject(new Problem("The upload was interrupted", "The connection was lost, or the service refused the files. Try again."));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

async function problemOf(status, text) {
  try {
    const problem = JSON.parse(text);
    return new Problem(problem.title, problem.user_message, status, problem.errors ?? []);
  } catch {
    return new Problem("Something went wrong", `The service answered with status ${status}.`, status);
  }
}
