// One stream of events, shared by all who follow it: tabs through a shared worker, or this page alone.

export class Stream {
  constructor() {
    this.followers = new Set(); // functions that take a message
    this.source = null;
    this.known = Infinity; // last revision that the followers were told
  }

  // Follows all changes after a revision. Others hear again what they know if it is older than what they know.
  join(follower, after) {
    this.followers.add(follower);
    if (!this.source || after < this.known) this.open(after);
    else follower({ kind: "open" });
  }

  leave(follower) {
    this.followers.delete(follower);
    if (this.followers.size === 0) this.close();
  }

  open(after) {
    this.close();
    this.known = after;
    this.source = new EventSource(`/events?after=${after}`);
    for (const kind of ["job", "deleted"]) {
      this.source.addEventListener(kind, (event) => {
        this.known = Number(event.lastEventId);
        this.tell({ kind, revision: this.known, data: JSON.parse(event.data) });
      });
    }
    this.source.addEventListener("open", () => this.tell({ kind: "open" }));
    this.source.addEventListener("error", () => {
      if (this.source?.readyState !== EventSource.CLOSED) return this.tell({ kind: "interrupted" }); // it connects again by itself
      this.close();
      const lost = [...this.followers];
      this.followers.clear();
      for (const follower of lost) follower({ kind: "lost" });
      return undefined;
    });
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  tell(message) {
    for (const follower of this.followers) follower(message);
  }
}
