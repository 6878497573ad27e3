import { Link } from "react-router";
import { Page } from "../components/Page";
import { S } from "../strings";

export function NotFound() {
  return (
    <Page title={S.problem.notFoundTitle} lead={S.problem.notFoundDetail}>
      <p>
        <Link to="/">{S.problem.toHome}</Link>
      </p>
    </Page>
  );
}
