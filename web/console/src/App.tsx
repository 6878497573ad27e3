// The pages: one line each. A page is a file in pages/, loaded when it is first visited.
import { FluentProvider, Toaster } from "@fluentui/react-components";
import { type ComponentType, lazy, Suspense } from "react";
import { Route, Routes, useLocation } from "react-router";
import { TOASTER } from "./components/actions";
import { Loading } from "./components/states";
import type { Permission } from "./lib/session";
import { NotFound } from "./pages/NotFound";
import { PageBoundary } from "./shell/PageBoundary";
import { Shell } from "./shell/Shell";
import { Allowed } from "./shell/Allowed";
import { S } from "./strings";
import { useTheme } from "./theme";

const page = (load: () => Promise<{ Page: ComponentType }>) => lazy(async () => ({ default: (await load()).Page }));

const SignIn = page(() => import("./pages/SignIn"));

const PAGES: { path: string; needs: Permission; Page: ComponentType }[] = [
  { path: "/", needs: "own", Page: page(() => import("./pages/Home")) },
  { path: "/campaigns", needs: "campaign.read", Page: page(() => import("./pages/Campaigns")) },
  { path: "/campaigns/new", needs: "campaign.write", Page: page(() => import("./pages/CampaignEdit")) },
  { path: "/campaigns/:id", needs: "campaign.read", Page: page(() => import("./pages/Campaign")) },
  { path: "/campaigns/:id/edit", needs: "campaign.write", Page: page(() => import("./pages/CampaignEdit")) },
  { path: "/copies/:id", needs: "campaign.read", Page: page(() => import("./pages/Copy")) },
  { path: "/people/:id?", needs: "people.read", Page: page(() => import("./pages/People")) },
  { path: "/quarantine", needs: "quarantine.read", Page: page(() => import("./pages/Quarantine")) },
  { path: "/trace/:id?", needs: "trace.read", Page: page(() => import("./pages/Trace")) },
  { path: "/changes", needs: "protection.read", Page: page(() => import("./pages/Changes")) },
  { path: "/changes/new", needs: "change.propose", Page: page(() => import("./pages/ChangeNew")) },
  { path: "/changes/:id", needs: "protection.read", Page: page(() => import("./pages/Change")) },
  { path: "/allow-block", needs: "protection.read", Page: page(() => import("./pages/AllowBlock")) },
  { path: "/reports", needs: "trace.read", Page: page(() => import("./pages/Reports")) },
  { path: "/queue", needs: "queue.read", Page: page(() => import("./pages/Queue")) },
  { path: "/jobs", needs: "protection.read", Page: page(() => import("./pages/Jobs")) },
  { path: "/incidents", needs: "incident.read", Page: page(() => import("./pages/Incidents")) },
  { path: "/incidents/:id", needs: "incident.read", Page: page(() => import("./pages/Incident")) },
  { path: "/mail", needs: "mailbox.own", Page: page(() => import("./pages/Mail")) },
  { path: "/my-quarantine", needs: "quarantine.own", Page: page(() => import("./pages/MyQuarantine")) },
  { path: "/password", needs: "own", Page: page(() => import("./pages/Password")) },
  { path: "/app-passwords", needs: "mailbox.own", Page: page(() => import("./pages/AppPasswords")) },
  { path: "/settings", needs: "settings.read", Page: page(() => import("./pages/Settings")) },
];

export function App() {
  const { theme, choice, choose } = useTheme();
  const { pathname } = useLocation();
  return (
    <FluentProvider theme={theme}>
      <div className="app">
      <Routes>
        <Route path="/sign-in" element={<Alone Page={SignIn} />} />
        <Route path="/sign-in/link/:token" element={<Alone Page={SignIn} />} />
        <Route element={<Shell theme={choice} onTheme={choose} />}>
          {PAGES.map(({ path, needs, Page }) => (
            <Route
              key={path}
              path={path}
              element={
                <PageBoundary key={path} at={pathname}>
                  <Allowed needs={needs}>
                    <Suspense fallback={<Loading lines={8} />}>
                      <Page />
                    </Suspense>
                  </Allowed>
                </PageBoundary>
              }
            />
          ))}
          <Route path="*" element={<NotFound />} />
        </Route>
      </Routes>
      </div>
      <section className="toasts" aria-label={S.messages}>
        <Toaster toasterId={TOASTER} inline position="bottom-end" timeout={6000} pauseOnHover />
      </section>
    </FluentProvider>
  );
}

function Alone({ Page }: { Page: ComponentType }) {
  return (
    <Suspense fallback={<Loading />}>
      <Page />
    </Suspense>
  );
}
