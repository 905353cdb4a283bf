// Where images come from: files (dropped, pasted, picked), the camera, the drawing pad.

import { element } from "./dom.js";
import * as focus from "./focus.js";

/** Take files that are dropped on the page, pasted into it, or picked; `none` is called for a drop without any. */
export function files({ button, input, stage, take, none }) {
  const given = (list, otherwise = () => {}) => (list.length ? take([...list]) : otherwise());
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    given(input.files);
    input.value = "";
  });
  let depth = 0;
  document.addEventListener("dragenter", () => stage.classList.toggle("over", ++depth > 0));
  document.addEventListener("dragleave", () => stage.classList.toggle("over", --depth > 0));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    stage.classList.remove("over");
    given(event.dataTransfer.files, none);
  });
  document.addEventListener("paste", (event) => given(event.clipboardData.files));
}

/** Files one at a time: `take` gets the first with its place among them, and the others as the buttons are pressed. */
export class Series {
  #files = [];
  #at = 0;
  #buttons;
  #rest;
  #take;

  constructor({ previous, next, rest, take }) {
    this.#buttons = [previous, next];
    this.#rest = rest;
    this.#take = take;
    previous.addEventListener("click", () => this.#step(-1));
    next.addEventListener("click", () => this.#step(1));
  }

  give(files, stage) {
    this.#files = files;
    this.#at = 0;
    this.#step(0, stage);
  }

  #step(by, stage) {
    const count = this.#files.length;
    this.#at = (this.#at + by + count) % count;
    focus.keep(this.#rest, () => {
      for (const button of this.#buttons) button.hidden = count < 2;
    });
    this.#take(this.#files[this.#at], { place: count < 2 ? "" : `${this.#at + 1} of ${count}: `, stage });
  }
}

const TROUBLES = {
  NotAllowedError: "The browser does not let this page use the camera; allow it in the settings of the browser.",
  NotFoundError: "There is no camera.",
  NotReadableError: "The camera is busy; close whatever else uses it.",
};

/** The camera: start shows it in a video element, shoot takes a picture. */
export class Camera {
  #video;
  #starting = null;

  constructor(video) {
    this.#video = video;
  }

  /** Show the camera's picture; asked twice, as by a double click, start it once. */
  start() {
    this.#starting ??= this.#start().finally(() => (this.#starting = null));
    return this.#starting;
  }

  async #start() {
    if (!navigator.mediaDevices) throw new Error("Browsers allow the camera only over https, or on the machine that runs the service.");
    this.stop();
    try {
      this.#video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      throw new Error(TROUBLES[error.name] ?? `The camera cannot be used: ${error.message}`);
    }
    await this.#video.play();
  }

  stop() {
    for (const track of this.#video.srcObject?.getTracks() ?? []) track.stop();
    this.#video.srcObject = null;
  }

  shoot() {
    const canvas = element("canvas", { width: this.#video.videoWidth, height: this.#video.videoHeight });
    canvas.getContext("2d").drawImage(this.#video, 0, 0);
    return file(canvas, "camera.jpg", "image/jpeg");
  }
}

/** A pad to draw on in white on black, by pointer or keyboard; `drawn` is called with a file after each stroke. */
export class Pad {
  #canvas;
  #context;
  #pen = null;
  #down = false;

  constructor(canvas, drawn) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    this.clear();
    const done = async () => drawn(await file(canvas, "drawing.png", "image/png"));
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pen = this.#place(event);
      this.#line(this.#pen);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.#line(this.#place(event));
    });
    canvas.addEventListener("lostpointercapture", done);
    canvas.addEventListener("keydown", (event) => this.#key(event, done));
  }

  clear() {
    this.#context.fillStyle = "black";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
    this.#pen = null;
    this.#down = false;
  }

  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.#canvas.width,
      ((event.clientY - box.top) / box.height) * this.#canvas.height,
    ];
  }

  #line(to) {
    const context = this.#context;
    context.strokeStyle = "white";
    context.lineWidth = this.#canvas.width / 9;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(...(this.#pen ?? to));
    context.lineTo(...to);
    context.stroke();
    this.#pen = to;
  }

  #key(event, done) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = this.#canvas.width / 16;
    const [x, y] = this.#pen ?? [this.#canvas.width / 2, this.#canvas.height / 4];
    if (event.key === " ") {
      this.#down = !this.#down;
      if (this.#down) this.#line([x, y]);
      else done();
    } else if (event.key in steps) {
      const [right, down] = steps[event.key];
      const to = [x + right * step, y + down * step].map((at) => Math.max(0, Math.min(this.#canvas.width, at)));
      if (this.#down) this.#line(to);
      else this.#pen = to;
    } else {
      return;
    }
    event.preventDefault();
  }
}

function file(canvas, name, type) {
  return new Promise((resolve) => canvas.toBlob((blob) => resolve(new File([blob], name, { type })), type, 0.95));
}
