// Draws on canvases: the image, maps over it, and vectors as strips.

import { colour } from "./colours.js";
import { element } from "./dom.js";

const RELIEF = 12; // levels by which the image lightens or darkens the colours, as in app/overlay.py
const OUTSIDE = 90;
const SIDE = 288;

/** Decode a file for drawing; null where the browser cannot (many bands, .npy). */
export async function decode(file) {
  try {
    return await createImageBitmap(file);
  } catch {
    return null;
  }
}

/** Draw the image, scaled down to the stage if it is larger, on white as the model sees it; closes the bitmap. */
export function preview(canvas, bitmap) {
  const factor = Math.min(1, 1024 / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  canvas.classList.toggle("pixels", bitmap.width < 200);
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
}

/** Grey values 0 to 1 of a preview, resized to the input of the model, with raised contrast; 0.5 without a preview. */
export function greys(preview, { height, width }) {
  const values = new Float32Array(width * height).fill(0.5);
  if (!preview) return values;
  const canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(preview, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  for (let i = 0; i < values.length; i++) {
    values[i] = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
  }
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.01 * sorted.length)];
  const high = sorted[Math.ceil(0.99 * sorted.length) - 1];
  return values.map((value) => Math.max(0, Math.min(1, (value - low) / (high - low || 1))));
}

/**
 * Draw each cell of a map [h][w] in its colour, with the image's grey values as a faint relief; `largest` gets the
 * strongest colour. Outside the region, where the branch pools nothing, only the image is drawn, faded.
 */
export function overlay(canvas, { grey, size: { height, width }, map, region, largest }) {
  const factor = Math.max(1, Math.round(SIDE / Math.max(height, width)));
  canvas.width = width * factor;
  canvas.height = height * factor;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  for (let y = 0, i = 0; y < canvas.height; y++) {
    const row = Math.floor(y / factor) * width;
    const cells = map[Math.floor((y / canvas.height) * map.length)];
    for (let x = 0; x < canvas.width; x++, i += 4) {
      const light = grey[row + Math.floor(x / factor)];
      const within = inside(region, y / canvas.height, x / canvas.width);
      const tint = colour(cells[Math.floor((x / canvas.width) * cells.length)] / (largest || 1));
      for (let c = 0; c < 3; c++) image.data[i + c] = within ? tint[c] + RELIEF * (2 * light - 1) : 255 * light;
      image.data[i + 3] = within ? 255 : OUTSIDE;
    }
  }
  context.putImageData(image, 0, 0);
}

function inside([top, left, bottom, right], down, across) {
  return down >= top && down < bottom && across >= left && across < right;
}

/** Draw a vector as one row of cells, the larger the stronger. */
export function strip(canvas, values) {
  canvas.width = values.length;
  const context = canvas.getContext("2d");
  const ink = getComputedStyle(canvas).color.match(/[\d.]+/g).map(Number);
  const largest = Math.max(...values.map(Math.abs)) || 1;
  values.forEach((value, i) => {
    context.fillStyle = `rgb(${ink[0]} ${ink[1]} ${ink[2]} / ${Math.abs(value) / largest})`;
    context.fillRect(i, 0, 1, 1);
  });
}

/** Draw the colours from "against" to "for". */
export function scale(canvas) {
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    const [red, green, blue] = colour((2 * x) / (canvas.width - 1) - 1);
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(x, 0, 1, canvas.height);
  }
}
