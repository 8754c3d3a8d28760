/** Another route, that sends through the same hub. */
import { defineHandler } from "nitro/h3";
import { hub } from "../../lib/hub";

export default defineHandler((event) =>
  hub.send(event.context.params!.name!, "greeting", { from: "Nitro" })
);
