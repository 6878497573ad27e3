// Which pages there are: who sees them, what stands in their heading, and what must be found on them.
import assert from "node:assert/strict";
import { ask } from "./browser.mjs";

/** Pages with things in them, as the demo leaves them. A path may ask the API for an id. */
export const PAGES = [
  { name: "home", path: () => "/", title: "Home", roles: ["communicator", "administrator", "analyst", "recipient"] },
  { name: "campaigns", path: () => "/campaigns", title: "Campaigns", roles: ["communicator", "administrator"], holds: '[role="row"]' },
  { name: "campaign", path: campaign, roles: ["communicator", "administrator"], holds: ".headline", text: /recipients|copies/ },
  { name: "campaign-held", path: async (page) => `${await campaign(page)}?place=quarantine`, roles: ["communicator"], holds: ".headline" },
  { name: "campaign-new", path: () => "/campaigns/new", title: "New campaign", roles: ["communicator"] },
  { name: "copy", path: copy, roles: ["communicator", "administrator"], holds: ".timeline li" },
  { name: "people", path: () => "/people", title: "People", roles: ["communicator", "administrator"], holds: '[role="row"]' },
  { name: "person", path: async (page) => `/people/${(await ask(page, "/people")).items[0].id}`, title: "People", roles: ["administrator"], holds: ".facts" },
  { name: "quarantine", path: () => "/quarantine", title: "Quarantine", roles: ["administrator", "analyst"], holds: '[role="row"]' },
  { name: "quarantine-item", path: held, title: "Quarantine", roles: ["administrator", "analyst"], holds: ".timeline li" },
  { name: "trace", path: () => "/trace", title: "Message trace", roles: ["administrator", "analyst"], holds: '[role="row"]' },
  { name: "trace-item", path: async (page) => `/trace?copy=${(await ask(page, "/trace")).items[0].copy_id}`, title: "Message trace", roles: ["administrator"], holds: ".timeline li" },
  { name: "trace-copy", path: async (page) => `/trace/${(await ask(page, "/trace")).items[0].copy_id}`, roles: ["analyst"], holds: ".timeline li" },
  { name: "changes", path: () => "/changes", title: "Rule changes", roles: ["administrator", "analyst"], holds: '[role="row"]' },
  { name: "change", path: async (page) => `/changes/${(await ask(page, "/changes")).items[0].id}`, roles: ["administrator", "analyst"], holds: ".diff li" },
  { name: "change-new", path: () => "/changes/new", title: "Propose a change", roles: ["administrator"] },
  { name: "allow-block", path: () => "/allow-block", title: "Allow and block", roles: ["administrator", "analyst"] },
  { name: "reports", path: () => "/reports", title: "Reports", roles: ["administrator", "analyst"] },
  { name: "reports-tls", path: () => "/reports?tab=tls", title: "Reports", roles: ["administrator"] },
  { name: "queue", path: () => "/queue", title: "Queue", roles: ["administrator"] },
  { name: "jobs", path: () => "/jobs", title: "Long work", roles: ["administrator", "analyst"], holds: '[role="row"]' },
  { name: "incidents", path: () => "/incidents", title: "Delivery incidents", roles: ["communicator", "administrator"], holds: '[role="row"]' },
  { name: "incident", path: async (page) => `/incidents/${(await ask(page, "/incidents")).items[0].id}`, roles: ["communicator", "administrator"], holds: ".headline" },
  { name: "mail", path: () => "/mail", title: "My mail", roles: ["recipient"] },
  { name: "my-quarantine", path: () => "/my-quarantine", title: "My quarantine", roles: ["recipient"] },
  { name: "password", path: () => "/password", title: "Your password", roles: ["recipient"], holds: "form" },
  { name: "app-passwords", path: () => "/app-passwords", title: "App passwords", roles: ["recipient"], holds: "form" },
  { name: "settings", path: () => "/settings", title: "Settings", roles: ["administrator"], holds: "form" },
  { name: "settings-connectors", path: () => "/settings?tab=connectors", title: "Settings", roles: ["administrator"] },
  { name: "settings-accounts", path: () => "/settings?tab=accounts", title: "Settings", roles: ["administrator"] },
  { name: "settings-tokens", path: () => "/settings?tab=tokens", title: "Settings", roles: ["administrator"] },
  { name: "settings-audit", path: () => "/settings?tab=audit", title: "Settings", roles: ["administrator"], holds: '[role="row"]' },
];

async function campaign(page) {
  const { items } = await ask(page, "/campaigns");
  const sent = items.find((c) => c.state !== "draft");
  assert.ok(sent, "no campaign was sent yet");
  return `/campaigns/${sent.id}`;
}

async function copy(page) {
  const path = await campaign(page);
  return `/copies/${(await ask(page, `${path}/copies`)).items[0].id}`;
}

async function held(page) {
  return `/quarantine?item=${(await ask(page, "/quarantine")).items[0].id}`;
}

/** Lists of a server on which nothing happened yet, and what they say then. */
export const EMPTY = [
  { name: "campaigns", path: "/campaigns", says: "No campaign yet" },
  { name: "people", path: "/people", says: "No lists yet. Make one of people, or import them onto one." },
  { name: "quarantine", path: "/quarantine", says: "Nothing is held" },
  { name: "trace", path: "/trace", says: "No message yet" },
  { name: "changes", path: "/changes", says: "No change yet" },
  { name: "allow-block", path: "/allow-block", says: "No entry yet" },
  { name: "reports", path: "/reports", says: "No report yet" },
  { name: "reports-tls", path: "/reports?tab=tls", says: "Nothing went out yet" },
  { name: "connectors", path: "/settings?tab=connectors", says: "All mailboxes are kept here. To hand mail over to Dovecot or another system that speaks LMTP and IMAP, add a table [connectors.NAME] to landfall.toml." },
  { name: "tokens", path: "/settings?tab=tokens", says: "No tokens yet. Scripts use them instead of a password; a token may do what you may do." },
  { name: "queue", path: "/queue", says: "The queue is empty" },
  { name: "jobs", path: "/jobs", says: "No long work yet" },
  { name: "incidents", path: "/incidents", says: "No incident" },
  { name: "home", path: "/", says: "No campaign yet" },
];
