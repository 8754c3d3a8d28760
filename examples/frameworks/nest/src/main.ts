/**
 * Streamside in NestJS. In this folder, after `npm run build` in the root of the repository:
 *
 * ```sh
 * npm ci
 * npm install --no-save --install-links ../../.. # in an application of yours: npm install streamside
 * npm run build
 * npm start
 * curl -N localhost:8080/events/subscribe -H 'X-Session-Id: ada' &
 * curl -X POST localhost:8080/greet/ada
 * ```
 *
 * @module
 */
import "reflect-metadata";
import { NestFactory } from "@nestjs/core";
import { AppModule } from "./app.module.js";

const app = await NestFactory.create(AppModule, {
  logger: ["error", "warn"],
  forceCloseConnections: true, // those that are kept alive, when the streams have ended
});
// Without this, SIGTERM ends the process at once, and no stream is told when to come back.
app.enableShutdownHooks(["SIGTERM"], { useProcessExit: true });
await app.listen(Number(process.env.PORT ?? 8080));
console.log(`Streamside is on http://localhost:${new URL(await app.getUrl()).port}`);
