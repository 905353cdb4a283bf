// Numbers, names and classes as the page writes them.

/** A number with its sign and a real minus; zero is never negative. */
export function signed(value) {
  const size = Math.abs(value).toFixed(2);
  return `${value < 0 && Number(size) ? "−" : "+"}${size}`;
}

/** A probability, short enough for a bar; never 0 or 100 %, which a softmax does not reach. */
export function percent(value) {
  if (value > 0.9995) return "> 99.9 %";
  if (value < 0.0005) return "< 0.1 %";
  return `${(100 * value).toFixed(1)} %`;
}

/** A name within a sentence; one that is written from right to left must not reverse the rest. */
export function isolated(name) {
  return `\u2068${name}\u2069`;
}

/** Labels, most probable first; object keys that are numerals would come in numeric order. */
export function ranked(probabilities) {
  return Object.keys(probabilities).sort((one, other) => probabilities[other] - probabilities[one]);
}

/** A branch's name, in words. */
export function words(name) {
  return name.replaceAll("_", " ");
}
