import { Link } from "react-router";
import { Page } from "../components/Page";
import { EmptyState } from "../components/states";
import { S } from "../strings";

export function NotFound() {
  return (
    <Page title={S.problem.notFoundTitle}>
      <EmptyState title={S.problem.notFoundTitle} detail={S.problem.notFoundDetail} action={<Link to="/">{S.nav.home}</Link>} />
    </Page>
  );
}
