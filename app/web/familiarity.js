// Shows how familiar an image is. With few held-out images, the lowest figure is not very low, and means less.

import { $ } from "./dom.js";

const UNUSUAL = 0.05;
const STRANGE = 0.01;
const FEW = 100; // held out of so few images, as training says, that other kinds of images may look familiar too

/** Whether a familiarity is the lowest that the model can give; the answer has it as float32. */
function lowest(familiarity, statistics) {
  return statistics !== null && Math.fround(familiarity) <= Math.fround(statistics.levels.at(-1));
}

/** A familiarity as a short figure. */
export function figure(familiarity, statistics) {
  if (familiarity < STRANGE) return `below ${STRANGE}`;
  return lowest(familiarity, statistics) ? `≤ ${familiarity.toPrecision(2)}` : familiarity.toFixed(2);
}

/** Show that of all branches together, in words and on the meter; hide both if the model has none. */
export function show(found, statistics) {
  $("familiar").hidden = !found;
  if (!found) return;
  const { joint } = found;
  $("meter").value = joint;
  $("meter").high = lowest(joint, statistics) ? Math.max(UNUSUAL, 1.01 * joint) : UNUSUAL; // green above
  $("familiar-words").textContent = compared(joint, statistics) + judged(joint, statistics);
}

function compared(joint, statistics) {
  if (lowest(joint, statistics)) {
    const count = statistics.held_out;
    const none = count === 1 ? "not even the one image" : `none of the ${count} images`;
    return `This image is as unusual as the model can tell: ${none} held out in training is more unusual.`;
  }
  const share = joint < STRANGE ? "Fewer than 1 in 100" : `About ${Math.round(100 * joint)} in 100`;
  return `${share} of the images held out in training are at least as unusual as this one.`;
}

function judged(joint, statistics) {
  if (joint < STRANGE) return " The model has seen hardly any image like it, so be careful with its answer.";
  if (joint < UNUSUAL) return " It is unusual.";
  return statistics !== null && statistics.held_out >= FEW ? " It is not unusual." : "";
}
