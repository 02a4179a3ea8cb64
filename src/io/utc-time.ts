/** Times in signed files: `YYYY-MM-DDTHH:MM:SSZ`, whole seconds of UTC and nothing else. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** Returns whether a value is such a text, and a time that exists. */
export function isUtcTime(value: unknown): value is string {
  if (typeof value !== "string" || !TIME.test(value)) return false;
  // 30 February and 24:00 are read as times of the next day.
  const time = Date.parse(value);
  return !Number.isNaN(time) && new Date(time).toISOString() === `${value.slice(0, -1)}.000Z`;
}

/** A time in this form, cut to the second. */
export function formatUtcTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
