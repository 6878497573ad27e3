// The names of who saw something, for people.
const WORDS: Record<string, string> = {
  gateway: "gateway",
  smtp: "SMTP dialogue",
  quarantine: "quarantine",
  purge: "pull-back",
  mailbox: "mailbox",
};
export const sourceWord = (source: string) => WORDS[source] ?? source;
