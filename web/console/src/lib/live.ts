// Live news: the server says what changed, the queries that show it are asked again. Nothing is computed here.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { mayReload } from "./api";

/** What a topic's news makes stale: the first word of query keys. */
const STALE: Record<string, string[]> = {
  campaigns: ["campaigns", "copies", "home", "quarantine", "queue", "trace"],
  jobs: ["jobs", "changes", "home", "quarantine"],
  changes: ["changes", "protection", "home"],
  incidents: ["incidents", "campaigns", "home"],
  mailbox: ["mailbox", "my-quarantine", "home"],
};
/** News of this long are taken together, so that a send of thousands asks a few times and not thousands of times. */
const GATHER_MS = 700;
export function useLiveNews() {
  const queries = useQueryClient();
  useEffect(() => {
    const source = new EventSource("/api/v1/events");
    const waiting = new Set<string>();
    let timer: number | undefined;
    const tell = () => {
      timer = undefined;
      const words = new Set([...waiting].flatMap((topic) => STALE[topic] ?? []));
      waiting.clear();
      void queries.invalidateQueries({
        predicate: (query) => words.has(String(query.queryKey[0])) && mayReload(query),
      });
    };
    for (const topic of Object.keys(STALE)) {
      source.addEventListener(topic, () => {
        waiting.add(topic);
        timer ??= window.setTimeout(tell, GATHER_MS);
      });
    }
    return () => {
      window.clearTimeout(timer);
      source.close();
    };
  }, [queries]);
}
