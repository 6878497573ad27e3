// Builds the console into dist/, from where it is embedded into the binary. `npm run dev` serves it against a running server.
import react from "@vitejs/plugin-react";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const clientOfTheApi = fileURLToPath(new URL("../api-client/src/client.ts", import.meta.url));
const serverOfTheApi = process.env.LANDFALL_URL ?? "http://127.0.0.1:8080";

export default defineConfig({
  plugins: [react()],
  resolve: { alias: { "@landfall/api-client": clientOfTheApi } },
  server: { proxy: { "/api": serverOfTheApi } },
  preview: { proxy: { "/api": serverOfTheApi } },
  build: {
    target: "es2022",
    // One shared chunk of the libraries, one small chunk per page: a new version of a page leaves the libraries in the cache.
    chunkSizeWarningLimit: 800,
    rolldownOptions: {
      output: {
        codeSplitting: {
          groups: [
            { name: "fluent", test: /node_modules[\\/](@fluentui|@griffel|@floating-ui|tabster|keyborg)/, priority: 2 },
            { name: "react", test: /node_modules[\\/](react|react-dom|scheduler|react-router|@tanstack)[\\/]/, priority: 3 },
          ],
        },
      },
    },
  },
});
