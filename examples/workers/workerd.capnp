using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    # Where the objects' storage is: the directory that the bundle is in, as seen from where workerd is started.
    (name = "storage", disk = (path = "examples/workers/dist", writable = true)),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:8080", http = (), service = "main") ],
);

const worker :Workerd.Worker = (
  modules = [ (name = "room.js", esModule = embed "dist/room.js") ],
  compatibilityDate = "2026-01-01",
  durableObjectNamespaces = [ (className = "Room", uniqueKey = "room", enableSql = true) ],
  durableObjectStorage = (localDisk = "storage"),
  bindings = [ (name = "ROOM", durableObjectNamespace = "Room") ],
);
