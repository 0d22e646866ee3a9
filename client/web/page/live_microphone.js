// Runs where the browser makes sound: collects what the microphone hears, and passes it on in pieces.

const PIECE_S = 0.05;

class Pieces extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Float32Array(Math.round(PIECE_S * sampleRate));
    this.filled = 0;
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.piece[this.filled++] = sample;
      if (this.filled === this.piece.length) this.pass();
    }
    return true;
  }

  pass() {
    this.port.postMessage(this.piece.slice());
    this.filled = 0;
  }
}

registerProcessor("pieces", Pieces);
