// A page that the role may not see says so; the navigation does not even show it.
import type { ReactNode } from "react";
import { EmptyState } from "../components/states";
import { Page } from "../components/Page";
import { type Permission, useMay, useMe } from "../lib/session";
import { S } from "../strings";

export function Allowed({ needs, children }: { needs: Permission; children: ReactNode }) {
  const may = useMay();
  const me = useMe();
  if (may(needs)) return <>{children}</>;
  return (
    <Page title={S.problem.notAllowedTitle}>
      <EmptyState title={S.problem.notAllowedTitle} detail={S.problem.notAllowedDetail(S.role[me.role])} />
    </Page>
  );
}
