// Follows the jobs' changes while the page is visible, by a stream that all tabs share.

import { Stream } from "./stream.js";

const WORKER = "/page/stream_worker.js";

// Returns functions that join and leave the stream; messages go to `hear`.
export function connect(hear) {
  if (!window.SharedWorker) {
    const stream = new Stream();
    return { join: (after) => stream.join(hear, after), leave: () => stream.leave(hear) };
  }
  const { port } = new SharedWorker(WORKER, { type: "module" });
  port.addEventListener("message", ({ data }) => hear(data));
  port.start();
  return {
    join: (after) => port.postMessage({ kind: "join", after }),
    leave: () => port.postMessage({ kind: "leave" }),
  };
}
