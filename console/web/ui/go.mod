// Empty on purpose: it keeps ./... of the main module out of node_modules.
module sakimori/console/web/ui

go 1.26
