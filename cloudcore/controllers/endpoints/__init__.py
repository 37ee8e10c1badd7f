"""Who stands behind a Service: Endpoints, EndpointSlices, and slices that mirror Endpoints made by hand."""
