// Who is signed in and what they may do. Pages ask `useMay`; nobody sees what they may not use.
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, type ReactNode, useContext } from "react";
import { api, call, rememberCsrf, type Schemas } from "./api";
import { forgetAll } from "./kept";
import { rememberReason } from "./reason";

export type Me = Schemas["Me"];
export type Permission = Schemas["Permission"];

const MeContext = createContext<Me | null>(null);

export function MeProvider({ me, children }: { me: Me; children: ReactNode }) {
  return <MeContext.Provider value={me}>{children}</MeContext.Provider>;
}

/** The signed-in account; only under the shell. */
export function useMe(): Me {
  const me = useContext(MeContext);
  if (!me) throw new Error("useMe outside of the shell");
  return me;
}

export function useMay() {
  const { permissions } = useMe();
  return (permission: Permission) => permissions.includes(permission);
}

export async function loadMe(): Promise<Me> {
  const me = await call(api.GET("/api/v1/me"));
  rememberCsrf(me.csrf);
  return me;
}

export function useMeQuery() {
  return useQuery({ queryKey: ["me"], queryFn: loadMe, staleTime: 60_000, retry: false });
}

/** Takes the answer of a sign-in as the account from now on; what the one before saw is forgotten. */
export function useSignedIn() {
  const queries = useQueryClient();
  return (me: Me) => {
    rememberCsrf(me.csrf);
    rememberReason("");
    queries.clear();
    queries.setQueryData(["me"], me);
  };
}

export function useSignOut() {
  const queries = useQueryClient();
  return async () => {
    await call(api.DELETE("/api/v1/session"));
    rememberCsrf(null);
    rememberReason("");
    forgetAll();
    queries.clear();
  };
}
