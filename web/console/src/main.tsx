import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";
import { App } from "./App";
import { ProblemError } from "./lib/api";
import "./styles.css";

const STALE_MS = 10_000;
const RETRIES_MAX = 1;

/** Asking again helps when no answer came or the server was busy; a clear "no" stays a "no". */
const worthAnotherTry = (failures: number, error: Error) =>
  failures < RETRIES_MAX && error instanceof ProblemError && [0, 502, 503, 504].includes(error.problem.status);

/** The session ended while a page was open: ask who is signed in, and the shell shows the door. */
function lookWhoIsThere(error: Error) {
  if (error instanceof ProblemError && error.signInNeeded) void queries.resetQueries({ queryKey: ["me"] });
}

const queries = new QueryClient({
  queryCache: new QueryCache({ onError: (error, query) => query.queryKey[0] !== "me" && lookWhoIsThere(error) }),
  mutationCache: new MutationCache({ onError: lookWhoIsThere }),
  defaultOptions: { queries: { staleTime: STALE_MS, retry: worthAnotherTry } },
});

createRoot(document.getElementById("root") as HTMLElement).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <BrowserRouter>
        <App />
      </BrowserRouter>
    </QueryClientProvider>
  </StrictMode>,
);
