// The browser of the journeys: a fresh profile per journey, real pages of a real server, axe and a screenshot on every one.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import axe from "axe-core";
import { chromium } from "playwright-core";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const SHOTS = process.env.SHOTS;
const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
/** A page has shown its content after this at the latest. */
const SHOWN_MS = 15_000;

/** The value of a variable without which a journey cannot be made. */
export function need(name, what) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: ${what}`);
  return value;
}

export async function launch() {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

/** A visitor with an own profile; `faults` gathers what the browser complained about. */
export async function visitor(browser, baseURL) {
  const context = await browser.newContext({ baseURL, viewport: WIDE, colorScheme: "light", reducedMotion: "reduce" });
  const page = await context.newPage();
  page.setDefaultTimeout(SHOWN_MS);
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    // An answer of 4xx or 5xx is the page's business, and the journeys look at what it makes of it.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) faults.push(message.text());
  });
  return { context, page, faults };
}

export async function signIn(page, { login, password }) {
  await page.goto("/sign-in");
  await page.getByLabel("Login").fill(login);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Main" }).waitFor();
}

/** The page is there: a heading, and nothing that is still loading. */
export async function shown(page) {
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => !document.querySelector('.loading, [aria-label="Loading"]'), undefined, { timeout: SHOWN_MS });
}

export async function visit(page, path) {
  await page.goto(path);
  await shown(page);
}

/** What axe-core finds wrong, in words. Frames with mail are the sender's, not ours. */
export async function violations(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() =>
    // Fluent's focus sentinels (tabster) are hidden and focusable on purpose: they hand the focus on at once.
    window.axe.run({ exclude: ["[data-tabster-dummy]"] }, { iframes: false, resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }),
  );
  return found.violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${v.help} at ${n.target.join(" ")} — ${n.failureSummary?.split("\n").at(-1)?.trim()}`));
}

async function shot(page, name) {
  if (!SHOTS) return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

/** Colours that fade from one to the other have arrived. */
async function settled(page) {
  await page.evaluate(() => Promise.allSettled(document.getAnimations().filter((a) => a.effect?.getTiming().iterations !== Infinity).map((a) => a.finished)));
}

/** The page as it is now: light and dark at 1280 pixels, and at 390: nothing wrong, nothing cut off, one picture each. */
export async function inspect(page, name) {
  const wrong = [];
  for (const [word, size, colorScheme] of [
    ["light", WIDE, "light"],
    ["dark", WIDE, "dark"],
    ["narrow", NARROW, "light"],
  ]) {
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    await shown(page);
    await settled(page);
    // What sticks to the top covers nothing by half.
    await page.evaluate(() => window.scrollTo(0, 0));
    wrong.push(...(await violations(page)).map((text) => `${word}: ${text}`));
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    if (wider > 1) wrong.push(`${word}: the page is ${wider} px wider than the screen`);
    await shot(page, `${name}-${word}`);
  }
  await page.setViewportSize(WIDE);
  await page.emulateMedia({ colorScheme: "light" });
  assert.deepEqual(wrong, [], name);
}

/** JSON of the API with the visitor's session. */
export async function ask(page, path) {
  const answer = await page.request.get(`/api/v1${path}`);
  assert.ok(answer.ok(), `${path}: ${answer.status()}`);
  return answer.json();
}
