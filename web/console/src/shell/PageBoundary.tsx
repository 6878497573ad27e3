// A page that throws while rendering fails alone: the frame stays, and the page says what to do.
import { Button } from "@fluentui/react-components";
import { Component, type ReactNode } from "react";
import { EmptyState } from "../components/states";
import { S } from "../strings";

export class PageBoundary extends Component<{ at: string; children: ReactNode }, { failed: boolean }> {
  override state = { failed: false };
  static getDerivedStateFromError() {
    return { failed: true };
  }
  override componentDidUpdate(before: { at: string }) {
    if (this.state.failed && before.at !== this.props.at) this.setState({ failed: false });
  }
  override render() {
    if (!this.state.failed) return this.props.children;
    return (
      <EmptyState
        title={S.problem.pageFailed}
        detail={S.problem.pageFailedDetail}
        action={
          <Button appearance="primary" onClick={() => window.location.reload()}>
            {S.reload}
          </Button>
        }
      />
    );
  }
}
