/** Another route, that sends through the same hub. */
import { json } from "@sveltejs/kit";
import { hub } from "$lib/server/hub";
import type { RequestHandler } from "./$types";

export const POST: RequestHandler = async ({ params }) =>
  json(await hub.send(params.name, "greeting", { from: "SvelteKit" }));
