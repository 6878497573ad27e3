// A page that the role may not see says so; the navigation does not even show it.
import type { ReactNode } from "react";
import { Link } from "react-router";
import { Page } from "../components/Page";
import { type Permission, useMay, useMe } from "../lib/session";
import { S } from "../strings";

export function Allowed({ needs, children }: { needs: Permission; children: ReactNode }) {
  const may = useMay();
  const me = useMe();
  if (may(needs)) return <>{children}</>;
  return (
    <Page title={S.problem.notAllowedTitle} lead={S.problem.notAllowedDetail(S.role[me.role].toLowerCase())}>
      <p>
        <Link to="/">{S.problem.toHome}</Link>
      </p>
    </Page>
  );
}
