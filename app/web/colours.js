// Colours of contributions: the middle of Crameri's diverging map "vik", the same table as in app/overlay.py.
export const COLOURS = [
  [2, 58, 123], [4, 79, 136], [18, 100, 150], [48, 125, 166], [86, 151, 184], [127, 177, 202], [167, 202, 218],
  [207, 224, 232], [236, 229, 225], [235, 209, 194], [225, 184, 160], [215, 159, 127], [205, 136, 97], [195, 114, 67],
  [184, 90, 39], [162, 61, 12], [135, 36, 6],
];

/** Colour of a value from -1 to 1, as [red, green, blue]. */
export function colour(value) {
  const place = ((Math.max(-1, Math.min(1, value)) + 1) / 2) * (COLOURS.length - 1);
  const below = Math.min(COLOURS.length - 2, Math.floor(place));
  const share = place - below;
  return COLOURS[below].map((channel, i) => channel * (1 - share) + COLOURS[below + 1][i] * share);
}
