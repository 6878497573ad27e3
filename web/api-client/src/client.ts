// The typed client of the API: paths, parameters and answers come from schema.d.ts, which is generated from openapi.json.
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "../schema";

export type Schemas = components["schemas"];
export type Api = Client<paths>;

/** A client for `baseUrl`; `csrf` gives the signed-in session's token (`csrf` of GET /api/v1/me) for unsafe methods. */
export function createApi(baseUrl: string, csrf: () => string | null | undefined): Api {
  const api = createClient<paths>({ baseUrl, credentials: "same-origin" });
  api.use({
    onRequest({ request }) {
      const token = csrf();
      if (token && !["GET", "HEAD"].includes(request.method)) request.headers.set("X-CSRF-Token", token);
      return request;
    },
  });
  return api;
}
