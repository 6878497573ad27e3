// Numbers, sizes and times for people. Times are in the viewer's zone; UTC is on hover (see Age and When).
const numbers = new Intl.NumberFormat("en");
const percents = new Intl.NumberFormat("en", { style: "percent", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const clockShort = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const dayOfYear = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });
const zone = new Intl.DateTimeFormat("en", { timeZoneName: "short" });

/** The server's reasons begin in lower case where they follow a colon; alone they are sentences. */
export const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
export const count = (n: number) => numbers.format(n);
export const percent = (part: number, whole: number) => percents.format(whole ? part / whole : 0);
export const utc = (at: string) => `${new Date(at).toISOString().replace("T", " ").slice(0, 19)} UTC`;
export const timeOfDay = (at: string | number) => clock.format(new Date(at));
export const shortTime = (at: string | number) => clockShort.format(new Date(at));
/** "14 Mar, 10:14"; in another year the year tells more than the minute. */
export const dayAndTime = (at: string) => (new Date(at).getFullYear() === new Date().getFullYear() ? day : dayOfYear).format(new Date(at));
/** The viewer's zone, for what they type: "UTC", "CET", "GMT+2". */
export const zoneName = () => zone.formatToParts(new Date()).find((part) => part.type === "timeZoneName")?.value ?? "";
/** A day that somebody chose, as the moment at which it is over. */
export const endOfDay = (date: string) => new Date(`${date}T23:59:59`).toISOString();
export const isToday = (at: string) => new Date(at).toDateString() === new Date().toDateString();

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  if (bytes < 1_000_000) return `${(bytes / 1000).toFixed(bytes < 10_000 ? 1 : 0)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** A span as one number and unit: `12 s`, `3 min`, `2 h`, `4 days`. */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} days`;
}
