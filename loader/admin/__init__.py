"""What operators see: AdminService, metrics, and the small HTTP face of both."""
